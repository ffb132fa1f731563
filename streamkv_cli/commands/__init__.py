"""One file a command: parse, call the pipeline, hand the result to the console."""
