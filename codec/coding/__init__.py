"""One picture's latents, and the sections of bytes that hold them."""
