"""As fast as the backbone allows: our steps against their floor, other packages on the same work, and how it scales."""
