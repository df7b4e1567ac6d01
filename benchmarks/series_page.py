def page(record, planted):
    return ""
