"""What did compute buy?"""
