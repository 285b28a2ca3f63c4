"""The waist of the house: the row-masked student, and how it runs."""
