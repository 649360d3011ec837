"""What the commands of ``av-td3`` do, once their options have been read."""
