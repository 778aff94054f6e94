"""The SQLAlchemy adapter."""
