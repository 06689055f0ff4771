"""Which pre-trained model should I fine-tune on my data, without fine-tuning them all?"""
