"""From decoded latents to a picture with detail."""
