"""The commands of ``scanside``, a module for each group; `edge.cli` puts them together."""
