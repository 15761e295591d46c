"""The executors that come with Headrace, found through the entry-point group like anybody's."""
