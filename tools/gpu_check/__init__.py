"""What only a GPU can show: that engines run there, agree, end well, and how fast they are."""
