<<<<<<< HEAD
"""From a picture that lost detail, decoded or enlarged, to one that has it again."""
=======
"""From decoded latents to a picture with detail."""
>>>>>>> house
