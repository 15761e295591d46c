"""What every page stands on: who is there, forms that no foreign page can send, rendering, the live stream."""
