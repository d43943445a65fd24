from flask import Flask
from sqlalchemy import create_engine

application = Flask(__name__)
engine = create_engine(
    "mysql+mysqldb://app@db/app",
    pool_size=32,
    max_overflow=4,
    pool_timeout=30,
    pool_recycle=280,
    pool_pre_ping=True,
    connect_args={"init_command": "SET SESSION max_statement_time = 28"},
)
