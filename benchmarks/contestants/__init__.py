"""The apps that are measured: each as small as it can be, and configured as its documentation says."""
