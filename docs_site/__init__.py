"""What builds the site: `mkdocs.yml` loads `hooks`, which put what code knows into the pages."""
