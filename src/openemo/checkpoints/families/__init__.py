"""Published weights of Hallo and EchoMimic, open methods with EMO's network plan: their files and names."""
