"""What the store holds, and answers with what they rest on, as pages for a browser.

A page is one file: no script, no font and no picture comes from anywhere else, and its own content
security policy forbids it. Everything shown is escaped, for a video's name can hold anything.
"""
