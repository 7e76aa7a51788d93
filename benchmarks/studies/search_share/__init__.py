"""How much should the rate weigh in the encoder's search?"""
