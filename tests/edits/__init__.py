"""Small modules before and after, one an edit: built, loaded into a busy process, compared, unloaded, compared.

``corpus`` holds the cases, a file a topic; ``cases`` reads them and says how they are written; ``live`` runs one.
"""
