from flask import Flask

from commonpool import run_in_parallel

application = Flask(__name__)
warm = run_in_parallel([dict, list])
