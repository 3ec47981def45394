"""Active learning on arrays: it knows no disk, no screen and no `labeler`."""
