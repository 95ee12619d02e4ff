"""From records to figures and pages."""
