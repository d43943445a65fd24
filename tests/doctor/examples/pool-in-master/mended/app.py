from concurrent.futures import ThreadPoolExecutor

from flask import Flask

application = Flask(__name__)
executor = ThreadPoolExecutor(4)
sizes = list(executor.map(len, ["warm", "it", "up"]))
