"""The HTTP rules as pure functions: values in, values out, each naming its section of an RFC."""
