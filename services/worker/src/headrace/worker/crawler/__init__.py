"""A thin, polite crawler: fetches, reads and follows pages; knows nothing of jobs and stores."""
