"""A page that decodes .ldc files wholly in the browser: what belongs to it, how it is built, and a server for one
machine."""
