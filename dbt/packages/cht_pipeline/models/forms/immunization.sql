{{ form() }}
