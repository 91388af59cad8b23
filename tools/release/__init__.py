"""What is handed out: releases, launch links, the class kit."""
