"""The application that the documentation's code imports from: `payments` stands for the reader's own."""
