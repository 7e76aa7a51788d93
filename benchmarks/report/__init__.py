"""From numbers to figures, tables and pages."""
