"""What runs over many pictures cost."""
