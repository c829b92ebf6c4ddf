"""From records to images and labels: what Model Garden's pipelines do not give."""
