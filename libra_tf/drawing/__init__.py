"""Pictures for people: boxes on images, charts, and pages that show them."""
