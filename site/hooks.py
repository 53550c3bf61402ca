"""Makes the site complete.

It puts what the documents link to outside of docs into the site: a Markdown file becomes a page,
another file is copied, and of a folder there is a page that shows its files. The build fails if a
page loads something from another site.
"""

import os
import posixpath
import re

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

# Links of Markdown, in which a URL has a colon and an anchor starts with #.
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")
# Where the site has the files of the project that are not documents.
SOURCES = "sources"
# What a page loads from elsewhere: a URL in src, or in the href of a link element.
LOADED = re.compile(r"""<[^>]* src=["']?(?:https?:)?//[^>]*>|<link [^>]*href=["']?(?:https?:)?//[^>]*>""")
# How a file is shown, by the end of its name.
LANGUAGES = {".yaml": "yaml", ".json": "json", ".sh": "sh"}


def on_files(files, config):
    """Adds what documents link to, and what that links to."""
    docs = config["docs_dir"]
    root = os.path.dirname(docs)
    script = "scripts/iframe-worker.js"
    files.append(File.generated(config, script, abs_src_path=os.path.join(os.path.dirname(__file__), script)))
    todo = [f for f in files if f.is_documentation_page()]
    while todo:
        page = todo.pop()
        for _, target, _ in LINK.findall(without_code(page.content_string)):
            path = os.path.normpath(os.path.join(root, source_of(page.src_uri), "..", target))
            if path.startswith(docs + os.sep) or path == docs or not os.path.exists(path):
                continue
            uri = uri_of(os.path.relpath(path, root))
            if files.get_file_from_path(uri):
                continue
            added = generated(config, uri, path)
            files.append(added)
            if added.is_documentation_page():
                todo.append(added)
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads links to the places that their targets have in the site."""
    here = page.file.src_uri

    def lead(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(here)), match[2]))
        if target.startswith("docs/"):
            uri = target.removeprefix("docs/")
            if os.path.isdir(os.path.join(config["docs_dir"], uri)):
                uri += "/README.md"
        else:
            uri = uri_of(target)
        if not files.get_file_from_path(uri):
            return match[0]
        return match[1] + posixpath.relpath(uri, posixpath.dirname(here) or ".") + match[3]

    return LINK.sub(lead, markdown)


def on_post_page(output, page, config):
    """Fails if the page loads something from another site."""
    if loaded := LOADED.findall(output):
        raise PluginError(f"{page.file.src_uri} loads {loaded} from another site: the site must work without a network")


def uri_of(path):
    """Returns the place in the site of a file or folder of the project. MkDocs leaves out hidden ones."""
    full = posixpath.join(SOURCES, path.lstrip("."))
    if os.path.isdir(os.path.join(os.path.dirname(__file__), "..", path)):
        return full + "/index.md"
    # As a Go file it would be part of this project's module.
    return full + ".txt" if full.endswith(".go") else full


def source_of(uri):
    """Returns the file of the project that a page of the site is made of."""
    return uri.removeprefix(SOURCES + "/") if uri.startswith(SOURCES + "/") else "docs/" + uri


def without_code(markdown):
    """Returns the text without blocks of code, which have brackets that are no links."""
    return re.sub(r"(?ms)^```.*?^```", "", markdown)


def generated(config, uri, path):
    """Returns a file of the site: a page that shows a folder, or the file as it is."""
    if os.path.isdir(path):
        return File.generated(config, uri, content=folder_page(path))
    return File.generated(config, uri, abs_src_path=path)


def folder_page(path):
    """Returns a page with the README of a folder, and its other files as blocks of code."""
    names = sorted(n for n in os.listdir(path) if os.path.isfile(os.path.join(path, n)))
    parts = [f"# {os.path.basename(path)}\n"]
    for name in names:
        with open(os.path.join(path, name), "rb") as file:
            content = file.read()
        if name == "README.md":
            parts[0] = content.decode()
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            continue
        parts.append(f"## {name}\n\n```{LANGUAGES.get(os.path.splitext(name)[1], 'text')}\n{text.rstrip()}\n```\n")
    return "\n".join(parts)
