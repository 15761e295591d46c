"""The pages, one file each: what is read for it and how it is laid out for its template."""
