"""Pictures in and out, in every form and format; no torch."""
