"""What the site shows beside docs/pages: generated pages, pictures, community files, and the API reference.

MkDocs calls `on_files` and `on_page_markdown` (its hooks). Nothing is copied: files stay where they are in the
repository, and links between them are rewritten to where they are on the site.
"""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PLACES = {  # folder of the repository -> folder of the site, and which files of it
    "docs": ("", ("*.md", "*.png")),
    "": ("", ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    "benchmarks": ("benchmarks", ("*.md", "*.png")),
}
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)([^)#\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the files of `PLACES` and one page for each package of the library."""
    for folder, (target, patterns) in PLACES.items():
        for path in sorted(p for pattern in patterns for p in (ROOT / folder).glob(pattern)):
            place = f"{target}/{path.name}".lstrip("/")
            files.append(File.generated(config, place, abs_src_path=str(path)))
    pages = api_pages()
    for place, text in pages.items():
        files.append(File.generated(config, f"api/{place}", content=text))
    config.nav = [_with_reference(entry, list(pages)) for entry in config.nav]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links between files of the repository into links between pages, and drops those to anything else."""
    source = Path(page.file.abs_src_path).resolve() if page.file.abs_src_path else None
    if source is None:
        return markdown
    on_site = {Path(f.abs_src_path).resolve(): f.src_uri for f in files if f.abs_src_path}
    up = "../" * page.file.src_uri.count("/")
    inside = source.is_relative_to(config.docs_dir)

    def rewrite(match: re.Match) -> str:
        target = (source.parent / match[3]).resolve()
        if target in on_site:
            return f"{match[1]}[{match[2]}]({up}{on_site[target]})"
        return match[0] if inside else match[2]  # of pages/ MkDocs checks the links

    return LINK.sub(rewrite, markdown)


def _with_reference(entry: Any, pages: list[str]) -> Any:
    """An entry of the navigation, with the pages of the reference where it says "api/"."""
    if isinstance(entry, dict) and "api/" in entry.values():
        return {name: [f"api/{page}" for page in pages] for name in entry}
    return entry


def api_pages() -> dict[str, str]:
    """Markdown of the reference by file name: the public names, then a page for each package with its modules."""
    pages = {"index.md": _index()}
    pages["zoo.sklearn.md"] = "# zoo.sklearn\n\n::: zoo.sklearn\n"
    packages = sorted({path.parent for path in (ROOT / "zoo").rglob("*.py")})
    for package in packages:
        if package == ROOT / "zoo":
            continue
        name = ".".join(package.relative_to(ROOT).parts)
        modules = [f"{name}.{path.stem}" for path in sorted(package.glob("*.py")) if not path.stem.startswith("_")]
        blocks = [f"::: {module}\n" for module in modules]
        pages[f"{name}.md"] = "\n".join([f"# {name}\n", f"{_docstring(package / '__init__.py')}\n", *blocks])
    return pages


def _index() -> str:
    """The names that `import zoo` offers, with links to where each is defined."""
    tree = ast.parse((ROOT / "zoo" / "api.py").read_text(encoding="utf-8"))
    rows = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                where = f"{node.module}.{alias.name}"
                package = (ROOT / where.replace(".", "/")).is_dir()
                rows.append((f"zoo.{alias.asname or alias.name}", where, f"({where}.md)" if package else f"[{where}]"))
    lines = [f"| `{public}` | [{where}]{link} |" for public, where, link in sorted(rows)]
    return "\n".join(
        ["# Public names", "", "What `import zoo` offers.", "", "| name | defined in |", "|---|---|", *lines]
    )


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
