"""What is measured of a decoded picture, and of sets of them."""
