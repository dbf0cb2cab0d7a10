"""What executes the shapes and types in ``livepaste``'s signatures while tests run."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for every type checker
