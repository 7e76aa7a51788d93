"""Which quantiser is best, on the same model?"""
