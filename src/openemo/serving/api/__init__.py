"""The HTTP API: video jobs that outlive the processes which take and make them."""
