"""What matters in the base stage?"""
