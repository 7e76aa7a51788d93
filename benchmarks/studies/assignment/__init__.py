"""Would other weights of rate and error in the encoder's decisions pay?"""
