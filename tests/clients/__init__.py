"""What strangers do with a published release, in processes of their own, with the libraries as they are."""
