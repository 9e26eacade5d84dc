"""Where trained segmenters become served graphs; holds nothing yet."""
