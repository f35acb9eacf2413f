"""The protocols as small transition systems, searched exhaustively."""
