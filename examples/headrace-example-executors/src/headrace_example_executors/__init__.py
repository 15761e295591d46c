"""Three executors as a plug-in of Headrace would bring them."""
