"""What tools and tests share: browsers, JupyterLab, notebooks run, synthetic traces."""
