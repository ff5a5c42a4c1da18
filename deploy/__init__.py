"""Where clusters live: manifests, units, and what tries them out."""
