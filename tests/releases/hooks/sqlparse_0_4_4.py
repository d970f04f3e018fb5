"""A lexer that somebody made before had no state: it goes on with that of the default one."""

from sqlparse.lexer import Lexer

from pylivepatch.hooks import transform


@transform("sqlparse.lexer:Lexer._SQL_REGEX")
def regex(lexer):
    return Lexer.get_default_instance()._SQL_REGEX


@transform("sqlparse.lexer:Lexer._keywords")
def keywords(lexer):
    return Lexer.get_default_instance()._keywords
